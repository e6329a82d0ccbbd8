-- Forgets the blocks whose days in forecasting.daily are no longer those that were read, so that they are read again.
-- $1 bigint   changes by others so far
with actual as (
    select
        sites.source,
        sites.key,
        (d.day - date '1970-01-01') / 28 as block,
        sum(
            hashfloat8extended(coalesce(d.value, 'NaN'), hashtextextended(d.metric, d.day - date '1970-01-01'))
            & 4611686018427387903
        ) % 4611686018427387904 as hash
    from forecasting.daily as d
    inner join forecasting.sites on sites.site = d.site
    group by sites.source, sites.key, (d.day - date '1970-01-01') / 28
),

altered as (
    select blocks.source, blocks.key, blocks.first_day
    from forecasting.blocks
    left join actual
        on
            actual.source = blocks.source
            and actual.key = blocks.key
            and actual.block = (blocks.first_day - date '1970-01-01') / 28
    where blocks.own_hash <> coalesce(actual.hash, 0)
),

forgotten as (
    delete from forecasting.blocks
    using altered
    where blocks.source = altered.source and blocks.key = altered.key and blocks.first_day = altered.first_day
)

update forecasting.revision set num_checked = $1::bigint where $1::bigint is not null;
