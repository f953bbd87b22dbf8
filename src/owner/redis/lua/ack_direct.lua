-- ack_direct: mirrors domain/user.rs
-- Removes direct messages that a connection has received.
for at = 6, #ARGV do forget_direct(ARGV[at]) end
return '{}'
