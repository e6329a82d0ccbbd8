-- Where verdicts that are other than before arrive by COPY. Gone when the transaction ends.
create temporary table if not exists judged (
    site text,
    metric text,
    day date,
    verdict text
) on commit delete rows;
