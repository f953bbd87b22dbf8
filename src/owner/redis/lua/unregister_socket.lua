-- unregister_socket: mirrors domain/registration.rs
-- Removes a registered name without a connection.
local name = ARGV[6]
local names = registered()
local known = names[name]
if not known or string.sub(known, 1, 1) ~= 'p' then return refuse('connection') end
register(names, name, nil)
return '{}'
