-- What is stored although the source no longer has it: days of its sites, other sites, and other metrics.
-- $1 text     source
-- $2 text     a metric of a source of events, whose days before its oldest day are counted; empty for daily totals
-- $3 text[]   keys of the sites that the source has
-- $4 text[]   metrics that the source has
with site as materialized (
    select
        sites.site,
        sites.key,
        sites.first_day,
        sites.key in (select present.key from unnest($3::text[]) as present (key)) as is_present
    from forecasting.sites
    where sites.source = $1::text
)

select
    'days' as what,
    site.site as name,
    sum(blocks.num_kept) as num_days,
    min(blocks.kept_first) as first_day,
    max(blocks.kept_last) as last_day
from forecasting.blocks
inner join site on site.key = blocks.key
where blocks.source = $1::text and blocks.num_kept > 0 and site.is_present
group by site.site
union all
select 'days', site.site, count(*), min(d.day), max(d.day)
from site
inner join forecasting.daily as d
    on d.site = site.site and d.metric = $2::text and d.day < coalesce(site.first_day, 'infinity')
where site.is_present and $2::text <> ''
group by site.site
union all
select 'site', site.site, count(distinct d.day), min(d.day), max(d.day)
from site
inner join forecasting.daily as d on d.site = site.site
where not site.is_present
group by site.site
union all
select 'metric', metrics.metric, count(distinct d.day), min(d.day), max(d.day)
from forecasting.metrics
cross join site
inner join forecasting.daily as d on d.site = site.site and d.metric = metrics.metric
where metrics.source = $1::text and metrics.metric <> all($4::text[]) and site.is_present
group by metrics.metric
order by what, name;
