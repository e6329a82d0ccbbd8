-- Stores the unusual ones of the days that were judged, all of one date, and withdraws those that are unusual no more.
-- A day that goes on with an unusual one is not told again, unless it is half as far off again: a day with the one before
-- it, a week with any of its days.
-- $1 text[]              sites and
-- $2 text[]              metrics that were judged, in pairs
-- $3 date[]              their days
-- $4 text[]              kinds; empty: the day is as expected
-- $5 double precision[]  values
-- $6 double precision[]  what was expected
-- $7 double precision[]  lower and
-- $8 double precision[]  upper ends
-- $9 double precision[]  scores
-- $10 text[]             sensitivities
-- $11 double precision[] the scores from which on they are told
-- $12 text[]             causes
-- $13 text[]             sentences
-- $14 text               version
-- $15 timestamptz        when
with judged as (
    select *
    from unnest(
        $1::text[], $2::text[], $3::date[], $4::text[], $5::double precision[], $6::double precision[],
        $7::double precision[], $8::double precision[], $9::double precision[], $10::text[], $11::double precision[],
        $12::text[], $13::text[]
    ) as each (
        site, metric, day, kind, value, expected, lower, upper, score, sensitivity, threshold, cause, sentence
    )
),

placed as (
    select
        judged.*,
        case when judged.score > 0 then 'high' else 'low' end as direction,
        abs(judged.score) > judged.threshold
        and (
            earlier.first_day is null
            or abs(judged.score) > 1.5 * (
                select max(abs(of_run.score))
                from forecasting.anomalies as of_run
                where
                    of_run.site = judged.site
                    and of_run.metric = judged.metric
                    and of_run.first_day = earlier.first_day
                    and of_run.day < judged.day
                    and of_run.told_at is not null
                    and of_run.withdrawn_at is null
                    and sign(of_run.score) = sign(judged.score)
            )
        ) as is_told,
        coalesce(earlier.first_day, judged.day) as first_day
    from judged
    left join lateral (
        select stored.first_day
        from forecasting.anomalies as stored
        where
            stored.site = judged.site
            and stored.metric = judged.metric
            and stored.day < judged.day
            and stored.day >= judged.day - case when judged.kind = 'week' then 7 else 1 end
            and stored.withdrawn_at is null
            and abs(stored.score) > judged.threshold
            and sign(stored.score) = sign(judged.score)
        order by stored.day desc
        limit 1
    ) as earlier on abs(judged.score) > judged.threshold
    where judged.kind <> ''
),

withdrawn as (
    update forecasting.anomalies as stored
    set withdrawn_at = $15::timestamptz, judged_at = $15::timestamptz, value = judged.value, value_before = stored.value
    from judged
    where
        judged.kind = ''
        and stored.site = judged.site
        and stored.metric = judged.metric
        and stored.day = judged.day
        and stored.withdrawn_at is null
    returning stored.site, stored.metric, stored.day, 'withdrawn' as change
),

written as (
    insert into forecasting.anomalies as stored (
        site, metric, day, kind, value, expected, lower, upper, score, direction, sensitivity, first_day, cause, text, version,
        judged_at, told_at
    )
    select
        site, metric, day, kind, value, expected, lower, upper, score, direction, sensitivity, first_day, cause, sentence, $14::text,
        $15::timestamptz, case when is_told then $15::timestamptz end
    from placed
    order by site, metric
    on conflict (site, metric, day) do update
        set
            kind = excluded.kind,
            value = excluded.value,
            expected = excluded.expected,
            lower = excluded.lower,
            upper = excluded.upper,
            score = excluded.score,
            direction = excluded.direction,
            sensitivity = excluded.sensitivity,
            first_day = excluded.first_day,
            cause = excluded.cause,
            text = excluded.text,
            version = excluded.version,
            judged_at = excluded.judged_at,
            told_at = coalesce(stored.told_at, excluded.told_at),
            message_id = case when stored.direction = excluded.direction then stored.message_id end,
            value_before = stored.value,
            withdrawn_at = null
        where stored.value is distinct from excluded.value or stored.withdrawn_at is not null
    returning
        stored.site, stored.metric, stored.day,
        case
            when stored.value_before is not null then 'corrected'
            when stored.told_at is not null then 'told'
            else 'kept'
        end as change
)

select site, metric, day, change from written
union all
select site, metric, day, change from withdrawn;
