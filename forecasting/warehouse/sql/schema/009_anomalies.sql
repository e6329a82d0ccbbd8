-- Days that differ from what was expected of them, and how far the days of each series have been judged.
create table if not exists forecasting.anomalies (
    id bigint generated always as identity primary key,
    site text not null,
    metric text not null,
    day date not null, -- of a week, its last
    kind text not null, -- day or week: what is unusual
    value double precision not null, -- in the source's units, as all values here; of a week, its sum or its mean
    expected double precision not null, -- by the forecast made before
    lower double precision not null, -- of its 80% band
    upper double precision not null,
    score double precision not null, -- above 0: too high; 1.645 is the end of the 90% band
    direction text not null, -- high or low
    sensitivity text not null, -- the lowest at which it is told: low, medium or high
    first_day date not null, -- of the run of such days that it belongs to
    is_new_level boolean not null default false, -- the two days after it stayed where it was
    cause text not null default '', -- a holiday, for one
    text text not null, -- what happened and what was expected, as people read it
    version text not null, -- of the model
    judged_at timestamp with time zone not null,
    told_at timestamp with time zone, -- NULL: the site's sensitivity leaves it out, or its run was told before
    value_before double precision, -- NULL: the day was not corrected since it was first judged
    withdrawn_at timestamp with time zone, -- after a correction the day is as expected
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    note text,
    unique (site, metric, day)
);

create table if not exists forecasting.judged (
    site text,
    metric text,
    until date not null, -- the last day that was judged
    judged_at timestamp with time zone not null, -- later changes of a day are judged again
    primary key (site, metric)
);

update forecasting.schema_version set number = 9 where number < 9;
