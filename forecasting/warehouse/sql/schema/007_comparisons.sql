-- Tables of sources as they were when all of their days were last compared with forecasting.daily.
create table if not exists forecasting.comparisons (
    source text,
    scope text, -- all: every day; recent: those that serving needs
    identity text not null, -- of the server, the table and the settings: others cannot be compared with these numbers
    num_inserted bigint not null, -- rows, since the server began to count
    num_updated bigint not null,
    num_deleted bigint not null,
    recent_from timestamp with time zone, -- events since then are read again anyway; NULL: daily totals
    num_recent bigint not null, -- events since then
    num_newest bigint not null, -- of the last minute, which the server may not have counted yet
    compared_at timestamp with time zone not null, -- when all days were last compared
    primary key (source, scope)
);

update forecasting.schema_version set number = 7 where number < 7;
