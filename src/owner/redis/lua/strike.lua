-- strike: mirrors domain/user.rs
-- ARGV: 6 the id of a message that one of their connections has.
call('ZREM', Q, ARGV[6])
call('HDEL', D, ARGV[6])
return '{}'
