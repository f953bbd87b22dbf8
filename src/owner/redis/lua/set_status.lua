-- set_status: mirrors domain/presence.rs
-- ARGV: 6 how they are, 7 since when, 8 the connection that says so.
read()
if not user.here then return refuse('user') end
if say(ARGV[6], tonumber(ARGV[7])) then
  put({t = last_seen()})
  tell(ARGV[8])
end
return '{}'
