-- set_status: mirrors domain/presence.rs
-- Sets the status. `since`: time of the last activity, or nil; `except`: the connection that does not receive the
-- update.
local status, since, except = ARGV[6], tonumber(ARGV[7]), ARGV[8]
read()
if not user.here then return refuse('user') end
if say(status, since) then
  put({t = last_seen()})
  tell(except)
end
return '{}'
