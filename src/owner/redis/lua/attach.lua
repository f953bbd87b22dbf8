-- attach: mirrors domain/user.rs
-- A connection begins. `limit`: connections per user, 0: any number. `name`: the connection's registered name,
-- or empty.
local connection, identity, limit, name = ARGV[6], ARGV[7], tonumber(ARGV[8]), ARGV[9]
read()
if limit ~= 0 and call('ZCARD', connections_key) >= limit then return refuse('connections') end
if not user.here then begin(identity) end
come({connection}, connection)
local device
if name ~= '' then
  local names, count = registered()
  local known = names[name]
  if known or count < NAMES_MAX then register(names, name, 'l' .. node .. ':' .. connection) end
  device = known and string.match(known, '^p%d+ (.+)$')
end
return waiting(device and ',"v":' .. cjson.encode(device) or '')
