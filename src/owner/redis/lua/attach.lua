-- attach: mirrors domain/user.rs
-- ARGV: 6 connection, 7 who, 8 connections they may have, 9 what the connection calls itself, 10 names they may register.
read()
local id, may, name = ARGV[6], tonumber(ARGV[8]), ARGV[9]
if may ~= 0 and call('ZCARD', C) >= may then return refuse('connections') end
if not user.here then begin(ARGV[7]) end
come({id}, id)
local device
if name ~= '' then
  local names, count = registered()
  local known = names[name]
  if known or count < tonumber(ARGV[10]) then register(names, name, 'l' .. node .. ':' .. id) end
  device = known and string.match(known, '^p%d+ (.+)$')
end
return '{' .. waiting() .. (device and ',"v":' .. cjson.encode(device) or '') .. '}'
