-- Where a batch of forecasts arrives by COPY, a row a series. Gone with the session, empty after each transaction.
create temporary table made (
    site text,
    metric text,
    cutoff date,
    quantiles real[] -- of the first day ahead, then of the second, ...
) on commit delete rows;
