-- withdraw_registration: mirrors domain/registration.rs
-- ARGV: 6 the name.
local names = registered()
local known = names[ARGV[6]]
if not known or string.sub(known, 1, 1) ~= 'p' then return refuse('connection') end
register(names, ARGV[6], nil)
return '{}'
