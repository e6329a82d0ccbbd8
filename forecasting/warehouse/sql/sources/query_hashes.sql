-- Hashes of the rows of the user's own query, by site and block of 28 days. The query goes in front: `with given as (...)`.
-- Hashes of parts of a block add up, modulo 2^62.
-- $1 date     first day
-- $2 date     the day after the last day
-- $3 text[]   sites
-- $4 date     `known` is the hash of the days before this one
select
    row_.key,
    date '1970-01-01' + 28 * row_.block as first_day,
    (coalesce(sum(row_.hash) filter (where row_.is_known), 0) % 4611686018427387904)::bigint as known,
    (sum(row_.hash) % 4611686018427387904)::bigint as total
from (
    select
        given.site::text as key,
        (given.day - date '1970-01-01') / 28 as block,
        given.day < $4::date as is_known,
        hashfloat8extended(
            coalesce(given.value::double precision, 'NaN'),
            hashtextextended(given.metric::text, given.day - date '1970-01-01')
        ) & 4611686018427387903 as hash
    from given
    where
        given.site::text in (select wanted.key from unnest($3::text[]) as wanted (key))
        and given.metric is not null
        and given.day >= $1::date
        and given.day < $2::date
) as row_
group by row_.key, row_.block;
