-- Receives changed verdicts by COPY. Dropped when the transaction ends.
create temporary table if not exists new_verdicts (
    site text,
    metric text,
    day date,
    verdict text
) on commit drop;
