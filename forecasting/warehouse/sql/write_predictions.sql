-- Writes forecasts to the documented table `predictions`: one row for each metric, day and version, which holds the
-- newest forecast. Rows that would not change stay untouched.
-- $1 text[]    metrics
-- $2 date[]    days
-- $3 text[]    versions
-- $4 float8[]  forecasts, and
-- $5 float8[]  the lower and
-- $6 float8[]  the upper end of their 80% bands
with given as (
    select
        forecast.metric,
        forecast.day,
        forecast.version,
        forecast.value,
        jsonb_build_object('level', 0.8, 'lower', forecast.lower, 'upper', forecast.upper) as band
    from unnest($1::text[], $2::date[], $3::text[], $4::float8[], $5::float8[], $6::float8[])
        as forecast (metric, day, version, value, lower, upper)
),

changed as (
    update predictions as stored
    set predicted_value = given.value, confidence_interval = given.band
    from given
    where
        stored.metric_name = given.metric
        and stored.predicted_date = given.day
        and stored.model_version = given.version
        and (stored.predicted_value, stored.confidence_interval::text) is distinct from (given.value, given.band::text)
    returning 1
),

added as (
    insert into predictions (metric_name, predicted_date, predicted_value, confidence_interval, model_version)
    select given.metric, given.day, given.value, given.band, given.version
    from given
    where
        not exists (
            select from predictions as stored
            where
                stored.metric_name = given.metric
                and stored.predicted_date = given.day
                and stored.model_version = given.version
        )
    returning 1
)

select (select count(*) from changed) + (select count(*) from added) as num_rows;
