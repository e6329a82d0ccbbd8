-- What goes on.
select cause, began_at from forecasting.conditions where ended_at is null;
