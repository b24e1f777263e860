"""Files and a service, erased by workers that are killed all the time."""
