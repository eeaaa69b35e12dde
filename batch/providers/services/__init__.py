"""The known services, one file each: addresses, models, parameters and error codes as data, with their sources."""
