-- Receives a batch of forecasts by COPY, one row per series. Dropped when the transaction ends.
create temporary table incoming_forecasts (
    site text,
    metric text,
    cutoff date,
    quantiles real[] -- of the first day ahead, then of the second, ...
) on commit drop;
