-- Records that the source has nothing of some sites any more: their days are kept.
-- $1 text     source
-- $2 text[]   sites
update forecasting.blocks
set source_hash = 0, num_kept = kept.num_days, kept_first = kept.first_day, kept_last = kept.last_day
from (
    select
        gone.key,
        gone.first_day as block,
        count(distinct d.day) as num_days,
        min(d.day) as first_day,
        max(d.day) as last_day
    from forecasting.sites
    inner join forecasting.blocks as gone on gone.source = sites.source and gone.key = sites.key
    cross join forecasting.metrics
    left join forecasting.daily as d
        on
            d.site = sites.site
            and d.metric = metrics.metric
            and d.day >= gone.first_day
            and d.day < gone.first_day + 28
            and d.value <> 'NaN'
    where sites.source = $1::text and sites.site = any($2::text[]) and metrics.source = $1::text and metrics.gone_at is null
    group by gone.key, gone.first_day
) as kept
where blocks.source = $1::text and blocks.key = kept.key and blocks.first_day = kept.block;
