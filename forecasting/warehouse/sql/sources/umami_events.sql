-- Umami's annotations: people's notes about a day of a site.
-- A whole day is stored as midnight in the time zone of the person who wrote the note, so the nearest midnight in the
-- site's zone is meant. Noon, which some programs write instead, stays on its day.
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
where annotation.date >= '1990-01-01' and annotation.date < now() + interval '100 years'
order by day, key;
