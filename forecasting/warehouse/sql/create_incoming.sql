-- Where a source's days arrive by COPY. Gone when the transaction ends.
create temporary table incoming (
    key text,
    metric text,
    day date,
    value double precision,
    hours integer
) on commit drop;
