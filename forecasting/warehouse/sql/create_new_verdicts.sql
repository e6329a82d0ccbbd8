-- Receives changed verdicts by COPY. Emptied when a transaction ends, dropped with the session.
create temporary table if not exists new_verdicts (
    site text,
    metric text,
    day date,
    verdict text
) on commit delete rows;
