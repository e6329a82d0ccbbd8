-- Receives a source's days by COPY. Dropped when the transaction ends.
create temporary table incoming (
    key text,
    metric text,
    day date,
    value double precision,
    hours integer
) on commit drop;
