-- Receives a batch of forecasts by COPY, one row per series. Emptied when a transaction ends, dropped with the session.
create temporary table incoming_forecasts (
    site text,
    metric text,
    cutoff date,
    quantiles real[] -- of the first day ahead, then of the second, ...
) on commit delete rows;
