-- hooks/dead_letters: mirrors domain/hook.rs
-- The oldest dead letters of all endpoints: endpoint, time, and event. An entry is the time, a space, and the event.
local list = {}
for _, endpoint in ipairs(call('SMEMBERS', key .. ':endpoints')) do
  local found = call('LRANGE', key .. ':dead:' .. endpoint, -(LISTED - #list), -1)
  for at = #found, 1, -1 do
    local time, event = string.match(found[at], '^(%d+) (.*)$')
    list[#list + 1] = '[' .. cjson.encode(endpoint) .. ',' .. time .. ',' .. event .. ']'
  end
  if #list >= LISTED then break end
end
return '{"l":[' .. table.concat(list, ',') .. ']}'
