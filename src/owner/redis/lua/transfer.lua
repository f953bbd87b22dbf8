-- transfer: mirrors domain/recovery.rs
-- The session passes to another connection of the user.
local token, user, former_connection, connection = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local taken, over = string.match(call('GET', key .. ':t') or '', '^(%S+) (%d+)')
if taken == token and now < tonumber(over) then return '{}' end
local stored, ends, text = string.match(call('GET', key) or '', '^(%S+) (%d+) (.*)$')
if stored ~= token or (tonumber(ends) ~= 0 and tonumber(ends) <= now) then return '{}' end
local session = cjson.decode(text)
if session.u ~= user then return '{}' end
if session.c == former_connection then
  -- A member whose name was the connection's id keeps that name.
  for _, place in ipairs(session.r) do place.p = place.p or session.c end
  session.c, session.at[3] = connection, 0
  local passed = string.gsub(cjson.encode(session), '"r":{}', '"r":[]')
  call('SET', key, token .. ' 0 ' .. passed, 'PX', LIVE_SESSION_MS)
  call('SET', key .. ':o', token .. ' ' .. connection, 'PX', SESSION_TAKEN_MS)
end
return '{"s":' .. text .. '}'
