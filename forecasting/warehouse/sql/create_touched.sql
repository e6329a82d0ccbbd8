-- The series whose outcomes are to be counted again, and from which day on: where days or forecasts are new or were
-- changed, and the last 14 days of all, whose verdicts may have changed. Dropped when the transaction ends.
create temporary table touched (
    site text,
    metric text,
    first_day date,
    primary key (site, metric)
) on commit drop;
