-- What became of the forecasts of each series by each version, week by week, summed over days ahead.
-- $1 text[]   sites; empty: all
-- $2 text     metric; NULL: all
-- $3 date     the first day, whose whole week counts
-- $4 integer  days ahead at most
select
    week.version,
    week.site,
    week.metric,
    array_agg(week.week - date '1970-01-01' order by week.week) as weeks,
    array_agg(week.num_days order by week.week) as num_days,
    array_agg(week.absolute_error order by week.week) as absolute_error,
    array_agg(week.naive_error order by week.week) as naive_error,
    sum(week.pinball) as pinball,
    sum(week.inside_80) as inside_80,
    sum(week.inside_90) as inside_90
from (
    select
        outcome.version,
        outcome.site,
        outcome.metric,
        outcome.week,
        sum(outcome.num_days) as num_days,
        sum(outcome.absolute_error) as absolute_error,
        sum(outcome.naive_error) as naive_error,
        sum(outcome.pinball) as pinball,
        sum(outcome.inside_80) as inside_80,
        sum(outcome.inside_90) as inside_90
    from forecasting.outcomes as outcome
    where
        (cardinality($1::text[]) = 0 or outcome.site = any($1::text[]))
        and ($2::text is null or outcome.metric = $2::text)
        and outcome.week > $3::date - 7
        and outcome.days_ahead <= $4::integer
    group by outcome.version, outcome.site, outcome.metric, outcome.week
) as week
group by week.version, week.site, week.metric
order by week.version, week.site, week.metric;
