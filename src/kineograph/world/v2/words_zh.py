"""Chinese words for things: what they are, what they do, and where they stand."""

from __future__ import annotations

from kineograph.world.v2.lexicon import Words, words

ZH_SHAPE = {
    "ball": words("球, 圆球, 球体", held="圆珠"),
    "cube": words("方块, 立方体, 正方体", text="方体"),
    "cylinder": words("圆柱, 圆柱体, 柱子", held="圆筒"),
    "cone": words("圆锥, 圆锥体, 锥体", text="尖锥"),
    "ring": words("圆环, 环, 甜甜圈", text="环圈", held="圆圈"),
    "capsule": words("胶囊, 药丸", held="药片"),
    "pyramid": words("金字塔, 四棱锥", text="方锥", held="角锥"),
    "egg": words("蛋, 椭球, 鸡蛋", held="椭球体"),
    "table": words("桌子, 方桌", text="书桌", held="餐桌"),
    "arch": words("拱门, 拱", text="拱形门", held="门洞"),
    "snowman": words("雪人", text="雪娃娃"),
    "domino": words("骨牌, 多米诺骨牌", text="多米诺牌"),
}
ZH_THING = words("物体, 东西", text="物件")
# The first suits a thing whose shape is not said as well.
ZH_MEASURE = {
    "ball": words("个, 颗, 只"),
    "cube": words("个, 块"),
    "cylinder": words("个, 根"),
    "cone": words("个, 只"),
    "ring": words("个, 只, 枚"),
    "capsule": words("个, 粒"),
    "pyramid": words("个, 座"),
    "egg": words("个, 枚, 颗"),
    "table": words("张"),
    "arch": words("座, 个"),
    "snowman": words("个"),
    "domino": words("块, 张, 枚"),
    "": words("个, 件"),
}
ZH_PILE = {"row": words("排, 列, 行"), "stack": words("摞, 叠", text="堆")}
ZH_NUMBER = {
    "1": words("一"),
    "2": words("两, 2"),
    "3": words("三, 3"),
    "4": words("四, 4"),
    "5": words("五, 5"),
    "6": words("六, 6"),
    "7": words("七, 7"),
    "8": words("八, 8"),
}
ZH_COLOUR = {
    "red": words("红色, 红, 红色的, 鲜红的", text="火红的", held="大红的"),
    "orange": words("橙色, 橙, 橙色的, 橘色的", held="橘黄的"),
    "yellow": words("黄色, 黄, 黄色的, 明黄的", text="金黄的"),
    "green": words("绿色, 绿, 绿色的, 翠绿的", text="草绿的", held="碧绿的"),
    "cyan": words("青色, 青, 青色的, 青绿色的", held="蓝绿色的"),
    "blue": words("蓝色, 蓝, 蓝色的, 湛蓝的", text="天蓝的", held="蔚蓝的"),
    "purple": words("紫色, 紫, 紫色的, 深紫的", held="紫罗兰色的"),
    "pink": words("粉色, 粉, 粉色的, 粉红的", text="桃红的"),
    "white": words("白色, 白, 白色的, 雪白的", text="乳白的", held="洁白的"),
    "black": words("黑色, 黑, 黑色的, 漆黑的", text="乌黑的"),
}
ZH_SIZE = {
    "small": words("小, 小小的, 小型", text="小巧的", held="迷你"),
    "medium": words("中等, 中等大小的, 中号", text="中型"),
    "large": words("大, 巨大的, 大型", text="特大的", held="硕大的"),
}
ZH_MATERIAL = {
    "rubber": words("橡胶, 哑光, 磨砂", text="胶皮"),
    "metal": words("金属, 钢, 金属质感的", text="铁", held="不锈钢"),
    "glass": words("玻璃, 透明玻璃, 透明的", text="水晶"),
    "wood": words("木头, 木质, 木制", text="木", held="原木"),
    "striped": words("条纹, 带条纹的", held="斑马纹"),
}
ZH_HUE = words("色")
ZH_DIRECTION = {
    "left": words("向左, 往左, 朝左, 从右向左", text="自右向左", held="由右往左"),
    "right": words("向右, 往右, 朝右, 从左向右", text="自左向右", held="由左往右"),
}
ZH_SIDE = {"left": words("左边, 左侧, 左方"), "right": words("右边, 右侧, 右方")}
ZH_SPEED = {
    "slow": words("慢慢, 慢慢地, 缓慢地, 缓缓", text="缓缓地", held="徐徐"),
    "normal": words("中速", text="以中等速度"),
    "fast": words("快速, 快速地, 飞快地, 迅速", text="迅速地", held="疾速"),
}
ZH_MOTION = {
    "still": words("静止不动, 静止, 一动不动, 停着不动", text="停在原地", held="纹丝不动"),
    "fall": words("落下, 掉下来, 从空中落下, 掉到地上", text="坠下", held="坠落"),
    "bounce": words("{v}弹跳, {v}蹦跳, {v}一蹦一跳", held="{v}跳跃"),
    "throw": words("被{v}抛出, {v}飞过空中, 被{v}扔出去, {v}飞出", held="被{v}掷出"),
    "roll": words("{v}滚动, {v}滚来滚去, {v}滚过地面", held="{v}翻滚"),
    "slide": words("{v}滑动, {v}滑行, {v}滑过地面", held="{v}滑移"),
    "pendulum": words("像钟摆一样摆动, 来回摆动, 来回摇摆", text="像钟摆一样晃动", held="荡来荡去"),
    "spin": words("原地{v}旋转, {v}原地转动, {v}旋转, {v}打转", held="{v}自转"),
    "topple": words("翻倒, 倒下, 倒在地上", text="倾倒", held="翻倒在地"),
    "dominoes": words("依次倒下, 一个接一个地倒下, 接连倒下", held="相继倒下"),
    "stack": words("稳稳地立着, 稳稳地叠着", held="稳稳当当地立着"),
    "collapse": words("倒塌, 垮塌, 塌下来", text="坍塌", held="散架"),
    "float": words("{v}飘起, {v}升起, {v}向上飘, {v}飘向空中", text="{v}升空", held="{v}腾空而起"),
    "grow": words("变大, 越变越大, 逐渐变大", text="胀大", held="膨胀"),
    "shrink": words("变小, 越变越小, 逐渐变小", text="缩小", held="收缩"),
    "recolour": words("变色, 改变颜色", held="换了颜色"),
}
ZH_RECOLOUR = words("变成{c}, 变为{c}, 变{c}", text="转为{c}", held="化为{c}")
ZH_MOTION_DIRECTED = {
    "bounce": words("{v}{d}弹跳, {v}{d}蹦跳, {d}{v}弹跳, {v}跳向{n}", held="{v}{d}跳跃"),
    "throw": words(
        "被{v}抛向{n}, 被{v}{d}抛出, {v}{d}飞出, {v}{d}飞过空中, 被{v}扔向{n}", held="被{v}掷向{n}"
    ),
    "roll": words("{v}{d}滚动, {d}{v}滚动, {v}{d}滚, {v}滚向{n}", held="{v}{d}翻滚"),
    "slide": words("{v}{d}滑动, {d}{v}滑动, {v}{d}滑, {v}滑向{n}", held="{v}{d}滑移"),
    "topple": words("{d}翻倒, {d}倒下, 倒向{n}", text="{d}倾倒", held="{d}翻倒在地"),
    "dominoes": words("依次{d}倒下, {d}依次倒下, 一个接一个地{d}倒下", held="{d}相继倒下"),
}
ZH_MOVE = words("{v}{d}移动, {d}{v}移动")
ZH_PROGRESSIVE = words("正在, 正")
ZH_PROGRESSING = ("roll", "slide", "spin", "bounce")
# A thing that does something to its partner {o}, told by the one or by the other.
ZH_PARTNER = {
    "collide": words("撞上{o}, 撞到{o}, 碰上{o}", text="碰到{o}", held="撞击{o}"),
    "orbit": words("绕着{o}{v}转圈, 围着{o}{v}转圈, 围绕{o}{v}转圈", held="围着{o}{v}绕圈"),
}
ZH_PARTNER_BY = {
    "collide": words("被{s}撞上, 被{s}撞到", text="被{s}碰到", held="被{s}撞击"),
    "orbit": Words(()),
}
ZH_OF = words("的")
ZH_HIT_LINK = Words(("，", "", "并"), held=("，接着",))

ZH_RELATION = {
    "left of": words("的左边, 左边, 的左侧, 左侧", text="的左方", held="的左手边"),
    "right of": words("的右边, 右边, 的右侧, 右侧", text="的右方", held="的右手边"),
    "in front of": words("前面, 的前面, 前方, 的前方", held="的正前方"),
    "behind": words("后面, 的后面, 后方, 的后方", text="背后", held="的正后方"),
    "on": words("上面, 的上面, 上", text="的顶上", held="顶上"),
    "under": words("下面, 的下面, 底下", held="的正下方"),
    "inside": words("里面, 的里面, 里", text="当中", held="内部"),
    "between": words("之间, 的中间, 中间", held="的正中间"),
}
ZH_AT = words("在, 位于", text="处于", held="身处")
ZH_HAS = words("有", held="摆着")
ZH_THERE = words("有", held="出现了")

ZH_ANOTHER = words("另一, 另外一")
ZH_DEFINITE = words("这, 那")
ZH_ORDINAL = {str(n): words(f"第{c}") for n, c in enumerate("一二三四五六七八", 1)}
ZH_IT = words("它")
ZH_THEY = words("它们")
ZH_ALL = words("都", held="全都")
ZH_AND = words("和, 与", text="跟")

ZH_ORDER = {
    "first": words("首先, 起初, 一开始", text="先是", held="最初"),
    "later": words("然后, 接着, 随后", text="之后", held="继而"),
}
ZH_SAME = words("同时", text="与此同时", held="此时")
ZH_SEQUEL = words("然后, 接着, 随后", text="之后", held="继而")
