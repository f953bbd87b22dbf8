-- claim: mirrors domain/recovery.rs
-- ARGV: 4 what opens it, 5 who claims it, 6 the connection that has it, 7 the one that is to have it, 8 how long a session
-- without an end is kept, 9 how long it is remembered who has it, in milliseconds.
local taken, over = string.match(call('GET', K .. ':t') or '', '^(%S+) (%d+)$')
if taken == ARGV[4] and now < tonumber(over) then return '{}' end
local token, ends, text = string.match(call('GET', K) or '', '^(%S+) (%d+) (.*)$')
if token ~= ARGV[4] or (tonumber(ends) ~= 0 and tonumber(ends) <= now) then return '{}' end
local session = cjson.decode(text)
if session.u ~= ARGV[5] then return '{}' end
if session.c == ARGV[6] then
  -- Who went by the connection's id still does.
  for _, place in ipairs(session.r) do place.p = place.p or session.c end
  session.c, session.at[3] = ARGV[7], 0
  local passed = string.gsub(cjson.encode(session), '"r":{}', '"r":[]')
  call('SET', K, token .. ' 0 ' .. passed, 'PX', ARGV[8])
  call('SET', K .. ':o', token .. ' ' .. ARGV[7], 'PX', ARGV[9])
end
return '{"s":' .. text .. '}'
