-- Counts a change of what forecasting.daily is read for: its days stay when a site is gone or comes back.
update forecasting.revision set number = number + 1;
