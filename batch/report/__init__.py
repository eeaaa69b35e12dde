"""Reading side for people: what an output folder and an input say, as frozen values; the commands show them."""
