-- The sites of the user's own query, with their first and last days. The query goes in front: `with given as (...)`. Days
-- before 1990 or in the future have a wrong date, and are only counted.
select
    row_.key,
    min(row_.day) filter (where not row_.is_misdated) as first_day,
    max(row_.day) filter (where not row_.is_misdated) as last_day,
    count(*) filter (where row_.is_misdated) as num_misdated,
    (min(row_.day) filter (where row_.is_misdated))::text as misdated_first,
    (max(row_.day) filter (where row_.is_misdated))::text as misdated_last
from (
    select
        given.site::text as key,
        given.day,
        given.day < '1990-01-01' or given.day > now() + interval '1 day' as is_misdated
    from given
    where given.site is not null and given.day is not null
) as row_
group by row_.key
order by row_.key;
