-- count: mirrors domain/room.rs
-- ARGV: 5 "u" for how many members there are, "w" for how many users, "n" for who these are, which the caller tells unless
-- the room is too large for that. Told once, whoever looks first.
local why = open()
if why then return refuse(why) end
if call('HDEL', K, ARGV[5] == 'n' and 'w' or ARGV[5]) == 1 and call('HLEN', M) > 0 then
  if ARGV[5] == 'u' then
    tell('*', '{"stats":' .. call('HLEN', M) .. '}')
  elseif room.k > 0 then
    local known, list = {}, {}
    for _, text in ipairs(call('HVALS', M)) do
      local user = cjson.decode(text).w[1]
      if not known[user] then known[user], list[#list + 1] = true, user end
    end
    if ARGV[5] == 'n' and call('HLEN', M) <= announce then return done('"us":' .. cjson.encode(list), true) end
    tell('*', '{"online":' .. #list .. '}')
  end
end
return done('"r":1', true)
