-- The sites of the user's own query, with their first and last days. The query goes in front: `with given as (...)`.
select given.site::text as key, min(given.day) as first_day, max(given.day) as last_day
from given
where given.site is not null and isfinite(given.day)
group by given.site::text
order by key;
