-- How many series there are, hopping from one key to the next in the primary key's index.
-- $1 text[]   sites; empty: all
-- $2 text[]   metrics; empty: all
-- $3 integer  which share of the series, from 0
-- $4 integer  of how many shares
-- $5 text     whose sites; empty: whoever's
with recursive keys as (
    (select d.site, d.metric from forecasting.daily as d order by d.site, d.metric limit 1)
    union all
    select following.site, following.metric
    from keys
    cross join lateral (
        select d.site, d.metric
        from forecasting.daily as d
        where (d.site, d.metric) > (keys.site, keys.metric)
        order by d.site, d.metric
        limit 1
    ) as following
)

select count(*) as num_series
from keys
where
    (cardinality($1::text[]) = 0 or keys.site = any($1::text[]))
    and (cardinality($2::text[]) = 0 or keys.metric = any($2::text[]))
    and ($5::text = '' or keys.site in (select sites.site from forecasting.sites where sites.source = $5::text))
    and (hashtextextended(keys.site || chr(31) || keys.metric, 0) & 9223372036854775807) % $4::integer = $3::integer;
