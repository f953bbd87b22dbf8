-- set_status: mirrors domain/presence.rs
-- Sets the status. `since`: time of the last activity, or nil; `except`: the connection that does not receive the
-- update; `unknown`: the identity if the user has none, empty for a
-- guest, of whom nothing is kept. A backend, which has no connection, may set when an absent user was
-- last seen.
local status, since, except, unknown = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
read()
if not user.here then
  if except ~= '' then return refuse('user') end
  if not user.identity and unknown == '' then return '{}' end
  put({w = user.identity or unknown, t = since and math.min(since, now) or user.last_seen or now})
  if keep_ms > 0 then call('PEXPIRE', key, keep_ms) end
  return '{}'
end
if say(status, since) then
  put({t = last_seen()})
  tell(except)
end
return '{}'
