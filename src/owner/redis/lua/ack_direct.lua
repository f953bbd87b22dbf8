-- ack_direct: mirrors domain/user.rs
-- Removes a direct message that a connection has received.
local id = ARGV[6]
forget_direct(id)
return '{}'
