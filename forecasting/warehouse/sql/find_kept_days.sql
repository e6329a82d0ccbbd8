-- What is stored although the source no longer has it: days of sites, of sites that are gone, and of metrics that are.
-- $1 text     source
-- $2 text     a metric of a source of events, whose days before its oldest day are counted; empty for daily totals
select 'days' as what, sites.site as name, sum(blocks.num_kept) as num_days,
    min(blocks.kept_first) as first_day, max(blocks.kept_last) as last_day
from forecasting.blocks
inner join forecasting.sites on sites.source = blocks.source and sites.key = blocks.key
where blocks.source = $1::text and blocks.num_kept > 0 and sites.gone_at is null
group by sites.site
union all
select 'days', sites.site, count(*), min(d.day), max(d.day)
from forecasting.sites
inner join forecasting.daily as d
    on d.site = sites.site and d.metric = $2::text and d.day < coalesce(sites.first_day, 'infinity')
where sites.source = $1::text and sites.gone_at is null and $2::text <> ''
group by sites.site
union all
select 'site', sites.site, count(distinct d.day), min(d.day), max(d.day)
from forecasting.sites
inner join forecasting.daily as d on d.site = sites.site
where sites.source = $1::text and sites.gone_at is not null
group by sites.site
union all
select 'metric', metrics.metric, count(distinct d.day), min(d.day), max(d.day)
from forecasting.metrics
inner join forecasting.sites on sites.source = metrics.source and sites.gone_at is null
inner join forecasting.daily as d on d.site = sites.site and d.metric = metrics.metric
where metrics.source = $1::text and metrics.gone_at is not null
group by metrics.metric
order by what, name;
