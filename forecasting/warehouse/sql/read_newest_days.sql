-- The newest day with a value of each of the given series, in the order given; NULL: none.
-- $1 text[]   sites and
-- $2 text[]   metrics, in pairs
-- $3 date     today: days from it on are left out
select
    (
        select d.day
        from forecasting.daily as d
        where
            d.site = series.site
            and d.metric = series.metric
            and d.day < $3::date
            and d.day >= '1990-01-01'
            and d.value <> 'NaN'
        order by d.day desc
        limit 1
    ) as day
from unnest($1::text[], $2::text[]) with ordinality as series (site, metric, place)
order by series.place;
