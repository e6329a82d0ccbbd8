-- Records what was read of blocks of days: hashes, and how many days in `kept_blocks` the source no longer has. Of a block
-- that began before the first day that was read, it is added to what was known.
-- $1 text     source
-- $2 text[]   keys of the sites that were read
-- $3 date     first day
-- $4 date     the day after the last day
-- $5 text[]   sites and
-- $6 date[]   first days of blocks that the source has, and
-- $7 bigint[] the hashes of what was read of them
with stored as (
    select
        sites.key,
        (d.day - date '1970-01-01') / 28 as block,
        sum(
            hashfloat8extended(coalesce(d.value, 'NaN'), hashtextextended(d.metric, d.day - date '1970-01-01'))
            & 4611686018427387903
        ) as hash
    from forecasting.daily as d
    inner join forecasting.sites on sites.site = d.site
    where sites.source = $1::text and sites.key = any($2::text[]) and d.day >= $3::date and d.day < $4::date
    group by sites.key, (d.day - date '1970-01-01') / 28
),

had as (
    select hashed.key, (hashed.first_day - date '1970-01-01') / 28 as block, hashed.hash
    from unnest($5::text[], $6::date[], $7::bigint[]) as hashed (key, first_day, hash)
)

insert into forecasting.blocks as block (
    source, key, first_day, source_hash, own_hash, num_kept, kept_first, kept_last
)
select
    $1::text,
    key,
    date '1970-01-01' + 28 * block,
    coalesce(had.hash, 0),
    (coalesce(stored.hash, 0) % 4611686018427387904)::bigint,
    coalesce(kept.num_days, 0),
    kept.first_day,
    kept.last_day
from stored
full join had using (key, block)
full join kept_blocks as kept using (key, block)
on conflict (source, key, first_day) do update
    set
        source_hash = (
            case when block.first_day < $3::date then block.source_hash::numeric else 0 end + excluded.source_hash
        ) % 4611686018427387904,
        own_hash = (
            case when block.first_day < $3::date then block.own_hash::numeric else 0 end + excluded.own_hash
        ) % 4611686018427387904,
        num_kept = case when block.first_day < $3::date then block.num_kept else 0 end + excluded.num_kept,
        kept_first = case
            when block.first_day < $3::date then least(block.kept_first, excluded.kept_first) else excluded.kept_first
        end,
        kept_last = case
            when block.first_day < $3::date then greatest(block.kept_last, excluded.kept_last) else excluded.kept_last
        end;
