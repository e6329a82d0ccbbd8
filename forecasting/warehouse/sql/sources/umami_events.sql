-- Umami's annotations: what people noted about a day of a site.
-- $1 text     time zone
select
    annotation.website_id::text as key,
    case
        when annotation.all_day then annotation.date::date else (annotation.date at time zone $1::text)::date
    end as day,
    annotation.note,
    null::text as metric,
    false as is_break
from annotation
order by day, key;
