-- Umami's annotations: what people noted about a day of a site.
-- A whole day is kept as its midnight where who noted it is, so that the nearest midnight of the site's zone is meant;
-- noon, which some programs write instead, is of its own day.
-- $1 text     time zone
select
    annotation.website_id::text as key,
    (
        annotation.date at time zone $1::text
        + case when annotation.all_day then interval '11 hours' else interval '0 hours' end
    )::date as day,
    annotation.note,
    null::text as metric,
    false as is_break
from annotation
order by day, key;
