-- What the setting `snax_interface_g` of the script `snax_loader` names: globals that a snax file may use while a client reads it.
return { GIVEN = 1 }
