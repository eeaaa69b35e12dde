"""What goes wrong on request: the register of numbered behaviours, and their exact forms by kind."""
