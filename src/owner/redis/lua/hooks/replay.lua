-- hooks/replay: mirrors domain/hook.rs
-- The dead letters of an endpoint are added to the outbox again, for this endpoint alone, the oldest first.
local endpoint = ARGV[4]
local dead = key .. ':dead:' .. endpoint
while true do
  local entry = call('RPOP', dead)
  if not entry then break end
  call('XADD', key, 'MAXLEN', '~', HOOK_EVENTS_MAX, '*', 'b', string.match(entry, '^%d+ (.*)$'), 'o', endpoint)
end
return '{}'
