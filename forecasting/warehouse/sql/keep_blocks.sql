-- Records that the source has nothing of some blocks of days any more: their days are kept.
-- $1 text     source
-- $2 text[]   sites and
-- $3 date[]   first days of the blocks; null: all blocks of the site
update forecasting.blocks
set source_hash = 0, num_kept = kept.num_days, kept_first = kept.first_day, kept_last = kept.last_day
from (
    select
        gone.key,
        gone.first_day as block,
        count(distinct d.day) as num_days,
        min(d.day) as first_day,
        max(d.day) as last_day
    from unnest($2::text[], $3::date[]) as lost (key, first_day)
    inner join forecasting.blocks as gone
        on
            gone.source = $1::text
            and gone.key = lost.key
            and (lost.first_day is null or gone.first_day = lost.first_day)
    inner join forecasting.sites on sites.source = gone.source and sites.key = gone.key
    cross join forecasting.metrics
    left join forecasting.daily as d
        on
            d.site = sites.site
            and d.metric = metrics.metric
            and d.day >= gone.first_day
            and d.day < gone.first_day + 28
            and d.value <> 'NaN'
    where metrics.source = $1::text and metrics.gone_at is null
    group by gone.key, gone.first_day
) as kept
where blocks.source = $1::text and blocks.key = kept.key and blocks.first_day = kept.block;
