"""One attempt of one turn, whatever the lane; one thin file a lane."""
