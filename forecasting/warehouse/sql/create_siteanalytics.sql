-- The tables of the documented backend, for an empty database of the embedded PostgreSQL.

-- One row per day. Every numeric column is a metric.
create table daily_metrics (
    id serial primary key,
    date date unique,
    page_visits integer,
    page_views integer,
    avg_time_on_page double precision, -- seconds
    bounce_rate double precision, -- 0..100 or 0..1: metrics.bounce_rate.unit tells which
    unique_visitors integer,
    first_time_visitors integer,
    returning_visitors integer,
    created_at timestamp without time zone default now(),
    updated_at timestamp without time zone default now()
);

-- One row per event. `timestamp` is in the writer's time zone, which the table does not tell.
create table page_visits (
    id serial primary key,
    page_url text,
    visitor_id text,
    session_id text,
    timestamp timestamp without time zone,
    time_on_page integer, -- seconds
    referrer text,
    user_agent text,
    ip_address text,
    event_name text, -- NULL for a page view
    event_data jsonb,
    country text,
    created_at timestamp without time zone default now()
);

create table predictions (
    id serial primary key,
    metric_name text,
    predicted_date date,
    predicted_value double precision,
    confidence_interval jsonb,
    model_version text,
    created_at timestamp without time zone default now()
);
