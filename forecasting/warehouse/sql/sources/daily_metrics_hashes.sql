-- Hashes of the rows of daily_metrics, by site and block of 28 days. Hashes of parts of a block add up, modulo 2^62.
-- If the table has no column `site`, the name resolves to the NULL that `absent` provides.
-- To try it in psql, replace the final semicolon by \bind '{shop}' 2024-01-01 2024-02-01 2024-01-31 \g
-- $1 text[]   sites
-- $2 date     first day
-- $3 date     the day after the last day
-- $4 date     `known` is the hash of the days before this one
select
    part.key,
    date '1970-01-01' + 28 * part.block as first_day,
    (coalesce(sum(part.hash) filter (where part.is_known), 0) % 4611686018427387904)::bigint as known,
    (sum(part.hash) % 4611686018427387904)::bigint as total
from (
    select
        coalesce(row_.site::text, current_database()) as key,
        row_.block,
        row_.is_known,
        -- Of a sum of positive numbers, so that it is positive, too.
        sum(row_.hash & 4611686018427387903) as hash
    from (values (null::text)) as absent (site)
    cross join lateral (
        select
            site,
            (date::date - date '1970-01-01') / 28 as block,
            date < $4::date as is_known,
            -- Our program puts the hash of the day and of all values in the place of this one.
            hashint4extended(date::date - date '1970-01-01', 0) as hash
        from daily_metrics
        where date >= $2::date and date < $3::date
    ) as row_
    group by row_.site, row_.block, row_.is_known
) as part
where part.key in (select wanted.key from unnest($1::text[]) as wanted (key))
group by part.key, part.block;
